"""Penn Treebank and downloads: from the first mirror that has it, whole and checked, or nothing is left behind."""

import hashlib
import io
import os
import shutil
import tarfile
import tempfile
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from serving import Server, serving
from small_data import HERE, RUN

from weightdecay.lab import data
from weightdecay.lab.data import DataError, download, ptb
from weightdecay.lab.run import Place


@pytest.fixture
def served(tmp_path):
    """The address of a server of the test's own folder."""
    with serving(tmp_path) as address:
        yield address


@pytest.fixture
def treebank(tmp_path, monkeypatch):
    """Small files in the place of Mikolov's, on a server that does not exist."""
    source = tmp_path / "source"
    source.mkdir()
    for file in ptb.FILES:
        (source / file).write_text(" the cat <unk> N \n" * 20)
    hashes = {file: hashlib.sha256((source / file).read_bytes()).hexdigest() for file in ptb.FILES}
    monkeypatch.setattr(ptb, "FILES", hashes)
    monkeypatch.setattr(ptb, "MIRRORS", ((tmp_path / "nothing").as_uri() + "/", source.as_uri() + "/"))
    monkeypatch.setattr(ptb, "ARCHIVES", ((tmp_path / "simple.tgz").as_uri(),))
    return source


PTB = replace(RUN, data="ptb", batch_size=4)


@pytest.mark.parametrize("inside", ["", "ptb", "simple-examples/data"])
def test_the_treebank_is_found_where_it_lies(inside, treebank, tmp_path):
    shutil.copytree(treebank, tmp_path / "data" / inside)
    place = replace(HERE, data=tmp_path / "data")
    assert len(data.load(PTB, place).words.train) == 100
    assert data.digest("ptb", place) == ""


def test_the_treebank_is_downloaded_from_the_first_mirror_that_has_it(treebank, tmp_path):
    place = replace(HERE, data=tmp_path / "data")
    with pytest.raises(DataError, match=r"ptb is not there: .* may not download"):
        data.load(PTB, place)
    assert len(data.load(PTB, replace(place, download=True)).words.vocabulary) == 5
    assert len(data.load(PTB, place).words.vocabulary) == 5
    assert sorted(path.name for path in (tmp_path / "data").rglob("*") if not path.name.endswith(".lock")) == sorted(
        ["ptb", *ptb.FILES]
    )


def test_a_download_with_another_hash_is_refused_and_leaves_nothing(treebank, tmp_path):
    (treebank / "ptb.valid.txt").write_text("<html>moved</html>")
    place = replace(HERE, data=tmp_path / "data", download=True)
    with pytest.raises(
        DataError, match=r"ptb.valid.txt could not be downloaded\..*its SHA256 is .*simple-examples.tgz"
    ):
        data.load(PTB, place)
    assert not list((tmp_path / "data").glob("[!.]*"))
    shutil.copytree(treebank, tmp_path / "data" / "ptb")
    with pytest.raises(DataError, match=r"ptb.valid.txt \(18 bytes\) is damaged or another file"):
        data.load(PTB, place)


def pack(archive, members):
    with tarfile.open(archive, "w:gz") as tar:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))


def test_the_treebank_comes_out_of_mikolovs_archive(treebank, tmp_path, monkeypatch):
    members = {f"./simple-examples/data/{file}": (treebank / file).read_bytes() for file in ptb.FILES}
    pack(tmp_path / "simple.tgz", members)
    monkeypatch.setattr(ptb, "MIRRORS", ((tmp_path / "nothing").as_uri() + "/",))
    place = replace(HERE, data=tmp_path / "data", download=True)
    assert len(data.load(PTB, place).words.vocabulary) == 5


@pytest.mark.parametrize("filters", [True, False])
@pytest.mark.parametrize("member", ["../outside.txt", "data/../../outside.txt", "/outside.txt", "link"])
def test_an_archive_cannot_write_outside_its_folder(member, filters, tmp_path, monkeypatch):
    """Whether or not this Python has filters, which came with 3.11.4."""
    if not filters:
        monkeypatch.delattr(tarfile, "data_filter", raising=False)
    archive, target = tmp_path / "bad.tgz", tmp_path / "data" / "unpacked"
    if member == "link":
        with tarfile.open(archive, "w:gz") as tar:
            entry = tarfile.TarInfo("link")
            entry.type, entry.linkname = tarfile.SYMTYPE, "../.."
            tar.addfile(entry)
    else:
        pack(archive, {"good.txt": b"good", member: b"bad"})
    if member.startswith("/"):  # such a name is taken as one inside
        download.unpack(archive, target)
        assert (target / "outside.txt").read_bytes() == b"bad"
    else:
        with pytest.raises(DataError, match=f"{archive} is refused, nothing of it was unpacked: .*outside"):
            download.unpack(archive, target)
        assert not target.exists()
    assert not list((tmp_path / "data").glob(".*"))
    assert not (tmp_path / "data" / "outside.txt").exists()


def test_a_truncated_archive_is_named_and_leaves_nothing(tmp_path):
    archive = tmp_path / "short.tgz"
    pack(archive, {"noise": os.urandom(100_000)})
    archive.write_bytes(archive.read_bytes()[:50_000])
    with pytest.raises(DataError, match=f"{archive} .50,000 bytes. cannot be unpacked"):
        download.unpack(archive, tmp_path / "data" / "unpacked")
    assert not list((tmp_path / "data").iterdir())


def test_of_two_that_start_at_once_one_downloads(treebank, served, tmp_path, monkeypatch):
    monkeypatch.setattr(ptb, "MIRRORS", (served + "source/",))
    place = replace(HERE, data=tmp_path / "data", download=True)
    lengths = []
    both = [threading.Thread(target=lambda: lengths.append(len(ptb.load("ptb", place).train))) for _ in range(2)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    assert lengths == [100, 100]
    assert sorted(Server.asked) == sorted(f"/source/{file}" for file in ptb.FILES)


@pytest.mark.parametrize("named", [True, False])
def test_without_a_home_there_is_a_folder_all_the_same(named, tmp_path, monkeypatch):
    """As in containers: no HOME, and a user id without a name."""
    for variable in ("HOME", "XDG_CACHE_HOME", "WEIGHTDECAY_DATA"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 987654)
    with pytest.raises(RuntimeError, match="home directory"):
        Path.home()
    if named:
        monkeypatch.setenv("WEIGHTDECAY_DATA", str(tmp_path))
    assert Place().data_folder == (tmp_path if named else Path(tempfile.gettempdir()) / "weightdecay" / "data")
    assert data.digest("digits", Place()) == ""


def test_a_transfer_that_is_cut_off_leaves_nothing(served, tmp_path):
    with pytest.raises(DataError, match=r"short.txt could not be downloaded. http.*put the file into"):
        download.fetch((served + "short.txt",), tmp_path / "data" / "short.txt")
    assert not list((tmp_path / "data").iterdir())


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "data").write_text("a file in the way of the folder")
    with pytest.raises(DataError, match=f"{tmp_path / 'data'} cannot be written .*WEIGHTDECAY_DATA names another"):
        data.load(PTB, replace(HERE, data=tmp_path / "data", download=True))
