"""The routes of the public API, one file per noun. Each lists its routes in ``ROUTES``; ``table`` joins them."""
