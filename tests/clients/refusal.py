"""What a server refuses."""

from qdrant_client.http.exceptions import UnexpectedResponse


def expect_error(status, culprit, call):
    """The call fails with this status, and its text names the culprit."""
    try:
        call()
    except UnexpectedResponse as error:
        assert error.status_code == status, (error.status_code, error.content)
        assert culprit in error.content.decode(), (culprit, error.content)
    else:
        raise AssertionError(f"no error, expected {status} naming {culprit}")
