# Makes a package of one that is installed. On standard input: its paths, each ended
# by a zero byte, relative to /.
dir=$1 name=$2 control=$3 to=$4
stage=$(mktemp -d "$dir/.pack-XXXXXX")
trap 'rm -r -- "$stage"' EXIT
chmod 755 "$stage"
# What the machine was told not to install (documentation) is not there.
tar --create --directory=/ --no-recursion --ignore-failed-read --numeric-owner --xattrs --null --verbatim-files-from --files-from=- |
	tar --extract --directory="$stage" --preserve-permissions --numeric-owner --xattrs --xattrs-include='*'
mkdir -m 755 "$stage/DEBIAN"
install -m 644 "$control" "$stage/DEBIAN/control"
for part in preinst postinst prerm postrm config templates triggers shlibs symbols md5sums conffiles; do
	for from in /var/lib/dpkg/info/"$name"."$part" /var/lib/dpkg/info/"$name":*."$part"; do
		[ -e "$from" ] || continue
		cp --preserve=mode "$from" "$stage/DEBIAN/$part"
	done
done
if [ -e "$stage/DEBIAN/conffiles" ]; then
	# One that the site has removed stays removed.
	while read -r file; do
		[ ! -e "$stage$file" ] || echo "$file"
	done <"$stage/DEBIAN/conffiles" >"$stage/DEBIAN/.conffiles"
	mv "$stage/DEBIAN/.conffiles" "$stage/DEBIAN/conffiles"
fi
dpkg-deb --build -Zgzip -z1 "$stage" "$to.part" >/dev/null
mv "$to.part" "$to"
