"""The JSON API, version 1: the content of the pages, for programs."""
