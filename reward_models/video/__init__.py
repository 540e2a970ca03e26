"""Reading and writing of video files and images."""
