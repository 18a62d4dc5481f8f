import ssl

import pytest

from duly.errors import ConfigError
from duly.runtime.authority import trusting
from duly.testing.certificates import Certificates


def test_one_authority_is_trusted_or_those_of_the_machine(tmp_path):
    keys = Certificates.create(tmp_path)

    one = trusting("x.ca_file", str(keys.authority))

    assert [dict(each["subject"][0])["commonName"] for each in one.get_ca_certs()] == [
        "duly test authority"
    ]
    for context in (one, trusting("x.ca_file", None)):
        assert context.verify_mode is ssl.CERT_REQUIRED
        assert context.check_hostname


@pytest.mark.parametrize("text", [None, "", "no certificate"])
def test_what_cannot_be_read_is_refused_by_its_setting(text, tmp_path):
    file = tmp_path / "ca.pem"
    if text is not None:
        file.write_text(text)

    with pytest.raises(ConfigError, match=r"x\.ca_file: cannot be read"):
        trusting("x.ca_file", str(file))
