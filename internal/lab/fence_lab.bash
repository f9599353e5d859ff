#!/bin/bash
# Fence agent for the hosts of a lab. Reads NAME=value lines from standard input,
# as the distribution's agents do, and asks the lab's power device.
declare -A opt=([action]=reboot)
while IFS= read -r line; do
	[[ $line == ?*=* ]] && opt[${line%%=*}]=${line#*=}
done
if [[ -z ${opt[ip]} || -z ${opt[ipport]} || -z ${opt[plug]} ]]; then
	echo "Failed: ip, ipport and plug have to be given" >&2
	exit 1
fi
exec 3<>"/dev/tcp/${opt[ip]}/${opt[ipport]}" || exit 1
printf '%s %s %s\n' "${opt[password]}" "${opt[action]}" "${opt[plug]}" >&3
IFS= read -r reply <&3
case $reply in
ON) echo "Status: ON" ;;
OFF) echo "Status: OFF"; exit 2 ;;
DONE) echo "Success: ${opt[action]}" ;;
*) echo "Failed: ${reply:-the device hung up}" >&2; exit 1 ;;
esac
