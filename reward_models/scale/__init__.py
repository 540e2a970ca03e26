"""One job for many items: in threads of this process, in several processes, or on a Ray cluster, with the same results in the same order."""
