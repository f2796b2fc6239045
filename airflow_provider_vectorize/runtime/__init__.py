"""What a running task brings along: its storage, its tries and their notes, what its templates leave."""
