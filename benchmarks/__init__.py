"""Each benchmark measures us beside a peer in one run and checks that both computed the same."""
