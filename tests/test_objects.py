"""Files of buckets: mirror, cache, a server of the S3 protocol, and what is said when nobody has them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness.tasks.datasets import objects_s3
from harness.tasks.datasets.objects import Objects
from jump_factory import Tree, write_tree

from harness.errors import CannotWriteError, MissingDataError
from harness.types import DataContext

BUCKET = "cellpainting-gallery"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """Start a server of the S3 protocol and return its address."""
    moto = pytest.importorskip("moto.server")
    pytest.importorskip("s3fs")
    running = moto.ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    yield f"http://{host}:{port}"
    running.stop()


@pytest.fixture
def bucket(server: str, monkeypatch: pytest.MonkeyPatch):
    """Return a client of an empty public bucket, which the reader is led to."""
    import boto3

    monkeypatch.setenv("AWS_ENDPOINT_URL", server)
    words = {"aws_access_key_id": "anybody", "aws_secret_access_key": "anything"}
    client = boto3.client("s3", endpoint_url=server, region_name="us-east-1", **words)
    client.create_bucket(Bucket=BUCKET, ACL="public-read")
    yield client
    for entry in client.list_objects_v2(Bucket=BUCKET).get("Contents", []):
        client.delete_object(Bucket=BUCKET, Key=entry["Key"])
    client.delete_bucket(Bucket=BUCKET)


def put(client, key: str, content: bytes) -> None:
    """Put a file into the bucket for everybody."""
    client.put_object(Bucket=BUCKET, Key=key, Body=content, ACL="public-read")


def objects(tmp_path: Path, **changes: object) -> Objects:
    """Return a reader of one mirror and one cache."""
    return Objects(DataContext(**{"data_dirs": (tmp_path / "mirror",), "cache": tmp_path / "cache", **changes}))


def write(path: Path, content: bytes) -> None:
    """Write a file with its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def test_a_mirror_comes_before_the_cache_and_both_before_the_network(tmp_path: Path) -> None:
    """DIR/<bucket>/<key> of the first folder wins; nothing else is asked."""
    place = "cache/buckets", "mirror", "first"
    for number, folder in enumerate(place):
        write(tmp_path / folder / "b/k/x", b"x" * (number + 1))
        found = objects(tmp_path, data_dirs=(tmp_path / "first", tmp_path / "mirror"))
        assert found.read("b/k/x") == b"x" * (number + 1)
        assert found.local_size("b/k/x") == number + 1
        assert found.fetch("b/k/x") == tmp_path / folder / "b/k/x"


def test_a_stamp_tells_a_mirror_from_a_stream(tmp_path: Path) -> None:
    """Size and time of a file in a mirror; None for one in the cache, which a run may have put there itself."""
    write(tmp_path / "mirror/b/x", b"123")
    write(tmp_path / "cache/buckets/b/y", b"123")
    found = objects(tmp_path)
    assert found.stamp("b/x") == (3, (tmp_path / "mirror/b/x").stat().st_mtime_ns)
    assert found.stamp("b/y") is None


def test_offline_the_message_lists_every_place(tmp_path: Path) -> None:
    """Both places on this machine, the bucket, and what to do."""
    with pytest.raises(MissingDataError) as caught:
        objects(tmp_path, offline=True).read("b/k/x.tiff")
    assert str(caught.value) == (
        f"b/k/x.tiff not found. Searched:\n  {tmp_path}/mirror/b/k/x.tiff\n  {tmp_path}/cache/buckets/b/k/x.tiff\n"
        "  s3://b/k/x.tiff: not asked (--offline)\n"
        "Either pass --data-dir DIR with the file at DIR/b/k/x.tiff, or let it be read from the public bucket (no "
        "account is needed)."
    )
    assert objects(tmp_path, offline=True).remote_sizes(["b/x", "b/y"]) == [None, None]


def test_the_missing_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without s3fs the message says what to install, and sizes are unknown."""
    monkeypatch.setitem(sys.modules, "s3fs", None)
    objects_s3._connect.cache_clear()
    with pytest.raises(MissingDataError, match=r"needs s3fs: pip install 'bioimage-harness\[s3\]'"):
        objects(tmp_path).read("b/x")
    assert objects(tmp_path).remote_sizes(["b/x"]) == [None]
    objects_s3._connect.cache_clear()


def test_public_files_are_streamed_without_an_account(bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Contents, sizes and order of many files; nothing is kept on disk."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    names = [f"{BUCKET}/k/{number}" for number in range(60)]
    for number, name in enumerate(names):
        put(bucket, name.removeprefix(f"{BUCKET}/"), bytes([number]) * number)
    found = objects(tmp_path)
    assert found.read_all(names) == [bytes([number]) * number for number in range(60)]
    assert found.remote_sizes([*names[:3], f"{BUCKET}/none"]) == [0, 1, 2, None]
    assert not (tmp_path / "cache").exists()


def test_streamed_files_are_kept_on_request(bucket, tmp_path: Path) -> None:
    """With keep_data the second reading needs no bucket; tables are always kept."""
    put(bucket, "a/x", b"image")
    put(bucket, "a/t", b"table")
    assert objects(tmp_path, keep_data=True).read(f"{BUCKET}/a/x") == b"image"
    assert objects(tmp_path).fetch(f"{BUCKET}/a/t").read_bytes() == b"table"
    bucket.delete_object(Bucket=BUCKET, Key="a/x")
    assert objects(tmp_path, offline=True).read(f"{BUCKET}/a/x") == b"image"
    assert sorted(one.name for one in (tmp_path / "cache/buckets" / BUCKET / "a").iterdir()) == ["t", "x"]


def test_a_cache_that_cannot_be_written_is_said(bucket, tmp_path: Path) -> None:
    """Where the cache's place is a file, keeping fails by name."""
    put(bucket, "a/x", b"image")
    (tmp_path / "cache").write_text("in the way")
    with pytest.raises(CannotWriteError, match=r"cache/buckets/.*a/x: cannot be written \(Not a directory"):
        objects(tmp_path, keep_data=True).read(f"{BUCKET}/a/x")


def test_a_file_that_no_bucket_has_is_missing_data(bucket, tmp_path: Path) -> None:
    """Absent key and absent bucket."""
    for address in (f"{BUCKET}/none", "no-such-bucket-here/none"):
        with pytest.raises(MissingDataError, match=rf"s3://{address}: the bucket has no such file"):
            objects(tmp_path).read(address)


def test_no_connection_is_said_in_two_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that does not answer ends in missing data."""
    pytest.importorskip("s3fs")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(MissingDataError, match="s3://b/x: no connection"):
        objects(tmp_path).read("b/x")


def test_the_whole_reader_works_from_a_bucket(bucket, tmp_path: Path) -> None:
    """Tables of images and images from S3 give the samples and pixels that a mirror gives; a plan asks the bucket."""
    local = write_tree(tmp_path / "data")
    expected = local.open()
    chosen = {one for site in expected.sites[:9] for one in site.files.images}
    for path in (local.root / BUCKET).rglob("*"):
        key = path.relative_to(local.root / BUCKET).as_posix()
        if path.suffix == ".parquet" or f"{BUCKET}/{key}" in chosen:
            put(bucket, key, path.read_bytes())
    images = expected.read("image", 0, 9).images
    size = local.root.joinpath(expected.sites[0].files.images[0]).stat().st_size
    local.drop_images()
    remote = Tree(local.root).open(local.context(offline=False))
    assert expected.ids == remote.ids
    assert expected.data_hash == remote.data_hash
    assert (images == remote.read("image", 0, 9).images).all()
    plan = remote.plan()
    assert plan.total.files == 4 * 20 * 2 * 5
    assert plan.basis == (
        "200 files are estimated from 10 of them that the bucket was asked",
        "600 files are assumed to have the mean size of an image of their laboratory",
    )
    assert plan.rows[0].to_fetch >= 400 * size
    with pytest.raises(MissingDataError, match=r"ch\d\.tiff not found"):
        remote.read("image", 20, 21)
