"""The JSON API, version 1: the same answers as the pages, for programs."""
