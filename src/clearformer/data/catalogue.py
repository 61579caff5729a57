"""The corpora that can be downloaded. Every file is pinned by URL, size and SHA-256."""

from dataclasses import dataclass


@dataclass(frozen=True)
class RemoteFile:
    """One file: its local name, its URL, and the expected hash and size in bytes."""

    name: str
    url: str
    sha256: str
    size: int


@dataclass(frozen=True)
class Download:
    """The files of a corpus. `licence` is as stated by their publisher."""

    name: str
    description: str
    licence: str
    files: tuple[RemoteFile, ...]


def _files(base_url: str, *files: tuple[str, str, int]) -> tuple[RemoteFile, ...]:
    return tuple(RemoteFile(name, f"{base_url}/{name}", sha256, size) for name, sha256, size in files)


_GITHUB = "https://raw.githubusercontent.com"

DOWNLOADS: dict[str, Download] = {
    "tinyshakespeare": Download(
        "tinyshakespeare",
        "plays of Shakespeare, 1.1 MB of text",
        "text in the public domain, repository MIT",
        (
            RemoteFile(
                "tinyshakespeare.txt",
                f"{_GITHUB}/karpathy/char-rnn/6f9487a6fe5b420b7ca9afb0d7c078e37c1d1b4e/data/tinyshakespeare/input.txt",
                "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
                1_115_394,
            ),
        ),
    ),
    "multi30k": Download(
        "multi30k",
        "image captions in English and German: 29,000 / 1,014 / 1,000 sentence pairs",
        "none stated for the text; its images are limited to non-commercial use",
        _files(
            f"{_GITHUB}/multi30k/dataset/a3d2e0d26b56f3846f66a952536ffed4e401d05a/data/task1/raw",
            ("train.de.gz", "726e39b2fa9eb9ffb6dc763fb35a179f80fae06ffc5d28b6ace5faa883de28a6", 637_044),
            ("train.en.gz", "d79cfa999dd4c51d2cb42499b6796d5a882c3a8a961923c25a898c90f8bbd56f", 568_929),
            ("val.de.gz", "f0cba2f995189cf5770f29a8a9a537a3ad3f51657ad873405082ff6863a5e75a", 24_681),
            ("val.en.gz", "14f7d25ddd868909a9213e361768460edcacdd6ab9d1e77b92560dc10c10dc28", 21_650),
            ("test_2016_flickr.de.gz", "9204244e408ccb38d2a55cfcd344df15005fc42a07a6e55ca6c52b6ababb8cc8", 22_890),
            ("test_2016_flickr.en.gz", "611d361c6334bc7246101d48097c13cf5c4413c5befc793cc629934359d532d9", 21_077),
        ),
    ),
    "polarity": Download(
        "polarity",
        "5,331 positive and 5,331 negative sentences from film reviews",
        "not stated",
        _files(
            f"{_GITHUB}/dennybritz/cnn-text-classification-tf/18762b459e21d9c70e5c242f8d43fc4e6db37a0d"
            "/data/rt-polaritydata",
            ("rt-polarity.pos", "4134882974a28d0c7b5151256f0e33a6169984ee7372c279e673f1114f475d58", 626_395),
            ("rt-polarity.neg", "2d11cfbc790f1cd96d78339f41ce53ced1efa83cd22d37d6788fa3fe3d17e2fd", 612_506),
        ),
    ),
    "ag_news": Download(
        "ag_news",
        "7,600 news headlines with their first lines, in four classes (the test part of the whole set)",
        "research, non-commercial",
        _files(
            f"{_GITHUB}/mhjabreel/CharCnn_Keras/555590db4219b1243abb1918effd6a7425a2d75f/data/ag_news_csv",
            ("test.csv", "521465c2428ed7f02f8d6db6ffdd4b5447c1c701962353eb2c40d548c3c85699", 1_857_427),
            ("classes.txt", "612dbfa932f07a6ed837295a7d5746ce7412e7bb4bc32ba919fdb3cda3a1b9b5", 31),
        ),
    ),
}
