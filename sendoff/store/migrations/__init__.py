"""The schema's revisions in `versions`, changes that large tables bear, and the plan of what is left to do."""
