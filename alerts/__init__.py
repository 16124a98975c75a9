"""Rules for Prometheus and how they are shipped: rules by subject, their tests, and the operator's form of them."""
