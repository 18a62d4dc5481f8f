"""The pages, one file for each item of the navigation. They work without JavaScript."""
