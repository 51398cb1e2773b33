"""A kernel of Debian, unpacked where no boot loader looks, and the memory disk that starts it.

The machine that runs the tests has no persistent memory, and its own kernel may load no modules.
Debian's has all that is needed: emulated persistent memory, ext4 with DAX, 9p. It is downloaded
as a package, unpacked, and never installed.
"""

from __future__ import annotations

import gzip
import lzma
import shutil
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
CACHE = ROOT / "target" / "guest"
SOURCES = ROOT / "backends" / "vas" / "kmod"
HEADERS = "linux-headers-amd64"
# What a guest takes, and the packages of Debian that have it.
PROGRAMS = {
    "qemu-system-x86_64": "qemu-system-x86",
    "busybox": "busybox-static",
    "cpio": "cpio",
    "modprobe": "kmod",
    "mkfs.ext4": "e2fsprogs",
    "dpkg": "dpkg",
    "apt-get": "apt",
    "make": "make",
    "gcc": "gcc",
}
MODULES = (
    *("virtio_pci", "nd_e820", "nd_pmem", "crc32c_generic", "ext4"),
    *("9p", "9pnet_virtio", "overlay"),
)
# Setup header of a bzImage: sectors of the setup code; offset and length of the packed kernel
# behind it (Documentation/arch/x86/boot.rst).
SETUP_SECTORS, PAYLOAD = 0x1F1, 0x248
XZ_MAGIC = b"\xfd7zXZ\x00"


def how_to_install() -> str | None:
    """The command that installs what is missing; None if all is there."""
    missing = [package for program, package in PROGRAMS.items() if not find(program)]
    return f"apt-get install --no-install-recommends {' '.join(missing)}" if missing else None


def find(program: str) -> str | None:
    return shutil.which(program) or shutil.which(program, path="/usr/sbin:/sbin")


@dataclass(frozen=True)
class Kernel:
    """An unpacked kernel: its release, the image to boot, and the tree with its modules."""

    release: str
    image: Path
    tree: Path

    @classmethod
    def fetch(cls) -> Kernel:
        """The kernel that `linux-image-amd64` stands for today; once unpacked it is kept."""
        package = kernel_package()
        release = package.removeprefix("linux-image-")
        home = CACHE / release
        kernel = cls(release, home / "vmlinux", home / "tree")
        if not kernel.image.exists():
            home.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(kernel.tree, ignore_errors=True)
            call("apt-get", "download", package, cwd=home)
            (archive,) = home.glob("*.deb")
            call("dpkg", "-x", archive.name, "tree", cwd=home)
            archive.unlink()
            call(find("depmod") or "depmod", "-b", "tree", release, cwd=home)
            # The last step: an image that exists is a kernel that is complete.
            whole = unpacked((kernel.tree / "boot" / f"vmlinuz-{release}").read_bytes())
            part = home / "vmlinux.part"
            part.write_bytes(whole)
            part.rename(kernel.image)
        return kernel

    def modules(self) -> list[Path]:
        """The modules of the guest and what they need, in the order of loading."""
        modprobe = find("modprobe") or "modprobe"
        options = ("-d", str(self.tree), "-S", self.release, "-D", "-a")
        lines = call(modprobe, *options, *MODULES).splitlines()
        paths = [Path(line.split()[1]) for line in lines if line.startswith("insmod ")]
        return list(dict.fromkeys(paths))

    def built_module(self) -> Path:
        """Our own module, built for this kernel, whose headers must be installed."""
        headers = Path("/lib/modules") / self.release / "build"
        if not headers.exists():
            raise RuntimeError(f"no headers of {self.release}: apt-get install {HEADERS}")
        built = CACHE / self.release / "vas"
        call("make", f"RELEASE={self.release}", f"OUT={built}", "modules", cwd=SOURCES)
        return built / "vas.ko"

    def memory_disk(self, directory: Path) -> Path:
        """Packs busybox, the modules and `init` into the disk that the kernel starts from."""
        tree = directory / "disk"
        for name in ("bin", "dev", "proc", "sys", "modules", "below", "above", "host"):
            (tree / name).mkdir(parents=True)
        shutil.copy(find("busybox") or "busybox", tree / "bin" / "busybox")
        for number, module in enumerate([*self.modules(), self.built_module()]):
            shutil.copy(module, tree / "modules" / f"{number:03} {module.name}")
        shutil.copy(Path(__file__).parent / "init", tree / "init")
        (tree / "init").chmod(0o755)
        names = "\n".join(str(path.relative_to(tree)) for path in sorted(tree.rglob("*")))
        options = ("--create", "--format=newc", "--quiet")
        packed = subprocess.run(
            ["cpio", *options], cwd=tree, input=names.encode(), stdout=subprocess.PIPE, check=True
        )
        disk = directory / "disk.gz"
        disk.write_bytes(gzip.compress(packed.stdout, compresslevel=1))
        return disk


def kernel_package() -> str:
    """The name of the package, with its version: image and modules must be of one."""
    for line in call("apt-cache", "depends", "linux-image-amd64").splitlines():
        word, _, name = line.strip().partition(" ")
        if word == "Depends:" and name.startswith("linux-image-"):
            return name
    raise RuntimeError("apt knows no linux-image-amd64: run `apt-get update` first")


def unpacked(image: bytes) -> bytes:
    """The kernel inside a bzImage; unpacking it in an emulated processor takes seconds."""
    start, length = struct.unpack_from("<II", image, PAYLOAD)
    start += (image[SETUP_SECTORS] + 1) * 512
    packed = image[start : start + length]
    if not packed.startswith(XZ_MAGIC):
        return image
    return lzma.LZMADecompressor(format=lzma.FORMAT_XZ).decompress(packed)


def call(*command: str, cwd: Path | None = None) -> str:
    run = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    if run.returncode:
        raise RuntimeError(f"{' '.join(command)} failed: {run.stderr or run.stdout}")
    return run.stdout
