"""The hot routes in front of Litestar, on uvicorn's protocol."""
