"""Getting files from the web: plain addresses and Google Drive, video sites, archives, and many of them at a time."""
