"""What models over HTTP and our own server share: addresses, credentials, retries."""
