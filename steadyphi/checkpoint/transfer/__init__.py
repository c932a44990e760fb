"""The parts of a fetch, which `hub` puts together: the listing, how bytes come, how they are checked."""
