"""How a network of the zoo is found."""

from __future__ import annotations

import pytest

from convscope import nets
from convscope.errors import NetTextError


def test_mlp_of_any_depth_and_width():
    assert nets.get("mlp-3x256").net == nets.mlp.net(depth=3, width=256)
    assert nets.get("mlp-1x20").net.infer((3, 32, 32)).steps[1].parameters == 61_460


@pytest.mark.parametrize("name", ["lectur", "mlp-0x5", "mlp-5x0", "mlp-99999x5", "", "resnet"])
def test_an_unknown_name(name):
    with pytest.raises(NetTextError, match=r"unknown net .* Expected a name that convscope nets lists"):
        nets.get(name)


def test_a_misspelt_name_gets_a_suggestion():
    with pytest.raises(NetTextError, match="Did you mean 'lecture'"):
        nets.get("lectrue")


def test_resolve_takes_names_texts_files_and_nets(tmp_path):
    net = nets.get("lecture").net
    file = tmp_path / "mine.net"
    file.write_text(net.to_text(), encoding="utf-8")
    assert nets.resolve("lecture") == ("lecture", net)
    assert nets.resolve(str(file)) == ("mine", net)
    assert nets.resolve(file) == ("mine", net)
    assert nets.resolve(str(net)) == ("custom", net)
    assert nets.resolve(net) == ("custom", net)


def test_a_net_file_that_cannot_be_read(tmp_path):
    with pytest.raises(NetTextError, match=r"the net file .*absent.net cannot be read: No such file"):
        nets.resolve(tmp_path / "absent.net")
    binary = tmp_path / "binary.net"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(NetTextError, match="it is not UTF-8 text"):
        nets.resolve(binary)
    large = tmp_path / "large.net"
    large.write_bytes(b" " * 1_000_001)
    with pytest.raises(NetTextError, match="holds 1,000,001 bytes. Expected at most 1,000,000"):
        nets.resolve(large)


def test_what_is_no_net_at_all():
    with pytest.raises(NetTextError, match="a net of type int. Expected a name, a .net file, text or a Net"):
        nets.resolve(5)
