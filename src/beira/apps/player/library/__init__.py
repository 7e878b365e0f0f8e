"""The library in the cloud: takes what was uploaded, and makes of it what shops play.

`intake` has the commands, `tags` reads what a file says of itself, `sound` measures, decodes and
encodes it, `jobs` does so for one asset after another, `ffmpeg` keeps hostile files away from us.
"""
