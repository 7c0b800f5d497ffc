import logging

import pytest

from robust_transfer.core.logging import logger, messages_on_stderr, shows_messages, silenced


def test_messages_go_to_stderr_inside_a_command_only(capsys):
    before = logger.level, list(logger.handlers)
    with messages_on_stderr():
        assert shows_messages()
        with messages_on_stderr():
            logger.info("step %d of 2", 1)
        logger.warning("%s cannot be read", "a.png")
    assert capsys.readouterr() == ("", "step 1 of 2\nwarning: a.png cannot be read\n")
    assert (logger.level, logger.handlers) == before and not shows_messages()


def test_the_logger_is_given_back_when_a_command_fails():
    before = logger.level, list(logger.handlers)
    with pytest.raises(KeyError), messages_on_stderr():
        raise KeyError
    assert (logger.level, logger.handlers) == before


def test_loggers_of_others_are_silenced_and_given_back(caplog):
    other = logging.getLogger("another.package")
    other.setLevel(logging.DEBUG)
    with silenced("another.package"):
        other.critical("repeated")
    other.debug("heard")
    assert other.level == logging.DEBUG and caplog.messages == ["heard"]
    other.setLevel(logging.NOTSET)
