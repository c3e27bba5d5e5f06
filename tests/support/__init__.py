"""What tests are made with: small datasets, known runs, ranks, servers."""
