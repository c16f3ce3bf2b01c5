# What differs between the boards: sourced with a name in $1, by the other scripts of this folder.
#   triple   rustc's name          glibc   the oldest that zig links against (gcc takes the machine's: 2.34 or later)
#   gcc      Debian's cross linker  cpu     what the emulator plays: the oldest board that must run it
#   sysroot  where the emulator finds the C library       deb     the package's architecture
case "${1:-}" in
aarch64) triple=aarch64-unknown-linux-gnu glibc=.2.31 gcc=aarch64-linux-gnu-gcc
    qemu=qemu-aarch64-static cpu=cortex-a53 sysroot=/usr/aarch64-linux-gnu deb=arm64 ;;
armv7) triple=armv7-unknown-linux-gnueabihf glibc=.2.31 gcc=arm-linux-gnueabihf-gcc
    qemu=qemu-arm-static cpu=cortex-a7 sysroot=/usr/arm-linux-gnueabihf deb=armhf ;;
armv6) triple=arm-unknown-linux-musleabihf glibc='' gcc=''
    qemu=qemu-arm-static cpu=arm1176 sysroot=/ deb=armhf ;;
*)
    echo "which board: aarch64 (Pi 3, 4, 5; 64 bits), armv7 (Pi 2, 3, 4; 32 bits) or armv6 (Pi 1, Zero)?" >&2
    exit 2
    ;;
esac
