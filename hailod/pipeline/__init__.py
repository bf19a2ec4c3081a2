"""From frame to result: camera threads fill mailboxes, the dispatcher feeds the device, results come back."""
