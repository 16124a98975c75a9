"""The programs that Queuemedic is measured beside, each as its own authors run it, told to publish the same figures."""
