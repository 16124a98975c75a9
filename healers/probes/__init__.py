"""Ask a host about processes: `protocol` says what is asked and answered, `probe.sh` is what runs there."""
