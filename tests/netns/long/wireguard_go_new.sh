#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The cases with wireguard-go as the client once more, with another one than Debian's, which is named: so "make test" leaves it out. A later
# Debian's runs here as well (dpkg-deb -x). About three minutes:
# WIREGUARD_GO_NEW=FILE tests/netns/run build/gcc $PWD/tests/netns/long/wireguard_go_new.sh
cases=$(realpath "$(dirname "$0")/../cases")
names=(wireguard wireguard_nat wireguard_versions wireguard_scenarios wireguard_routes)

if [[ ! -x ${WIREGUARD_GO_NEW:-} ]]; then
	echo "Bail out! WIREGUARD_GO_NEW=FILE has to name a wireguard-go"
	exit 1
fi
version=$("$WIREGUARD_GO_NEW" --version 2>/dev/null </dev/null | sed -n '1s/^wireguard-go *//p')
failed=0
number=0
for name in "${names[@]}"; do
	number=$((number + 1))
	said=$(WIREGUARD_GO=$WIREGUARD_GO_NEW "$cases/$name.sh" 2>&1) && verdict=ok || verdict="not ok"
	echo "$verdict $number - $name.sh with wireguard-go $version ($(grep -c '^ok ' <<<"$said") assertions)"
	if [[ $verdict != ok ]]; then
		failed=1
		sed 's/^/# /' <<<"$said"
	fi
done
echo "1..$number"
exit $failed
