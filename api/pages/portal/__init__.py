"""The customers' portal: pages of one organization, opened by a link that works once, with the rights of that link."""
