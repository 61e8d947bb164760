#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The cases with wireguard-go as the client once more, with another one than Debian's: WIREGUARD_GO_NEW=FILE. A later Debian's runs
# here as well (dpkg-deb -x). No test of the default set: without the variable there is nothing to do, in CI as well.
# run-tap: first
here=$(dirname "$(realpath "$0")")
cases=(wireguard wireguard_nat wireguard_versions wireguard_scenarios wireguard_routes)

if [[ -z ${WIREGUARD_GO_NEW:-} ]]; then
	echo "1..0 # SKIP no wireguard-go is named beside Debian's (WIREGUARD_GO_NEW=FILE)"
	exit 0
fi
version=$("$WIREGUARD_GO_NEW" --version 2>/dev/null </dev/null | sed -n '1s/^wireguard-go *//p')
failed=0
number=0
for name in "${cases[@]}"; do
	number=$((number + 1))
	said=$(WIREGUARD_GO=$WIREGUARD_GO_NEW "$here/$name.sh" 2>&1) && verdict=ok || verdict="not ok"
	echo "$verdict $number - $name.sh with wireguard-go $version ($(grep -c '^ok ' <<<"$said") assertions)"
	if [[ $verdict != ok ]]; then
		failed=1
		sed 's/^/# /' <<<"$said"
	fi
done
echo "1..$number"
exit $failed
