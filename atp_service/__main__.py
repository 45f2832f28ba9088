"""`atp`, and `python -m atp_service`."""

from atp_service.cli import main

if __name__ == "__main__":
    main()
