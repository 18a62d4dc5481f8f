"""The pages, one file for what one navigates to. They work without JavaScript."""
