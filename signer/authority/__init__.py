"""The authority repository: the reviewed files that say which products, sites, tokens and people there are."""
