# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2154 # lib.sh has dir, tests_dir and started
# Machines that run systemd, for tests of what is installed. After lib.sh, whose namespaces are the machines' network.

# Boots one in that namespace.
machine_up() { # NAMESPACE
	mkdir -p "$dir/machine-$1"
	start "machine-$1" "$1" "$tests_dir/tools/machine" "st-$$-$1" "$dir/machine-$1"
	wait_for 60 on "$1" systemctl is-active multi-user.target || {
		not_ok "systemd boots on the machine \"$1\""
		done_testing
		exit 1
	}
	# For finding out why a test failed.
	start "journal-$1" "$1" nsenter --target "$(init_of "$1")" --mount --pid -- journalctl --follow --no-tail --output cat
}

# The pid of its process 1, which is the child of unshare, which is the child of tests/netns/tools/machine.
init_of() { # NAMESPACE
	pgrep -P "$(pgrep -P "${started[machine-$1]}" -x unshare)"
}

# Runs there, as root.
on() { # NAMESPACE COMMAND...
	nsenter --target "$(init_of "$1")" --mount --pid --net --uts --ipc --cgroup -- \
		env -i --chdir=/root HOME=/root PATH="$PATH" LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive "${@:2}"
}

# The pid by which a running unit's main process is known there.
main_pid() { # NAMESPACE UNIT
	local pid
	pid=$(on "$1" systemctl show --property MainPID --value "$2")
	[[ $pid -gt 0 ]] && echo "$pid"
}

journal() { # NAMESPACE UNIT
	on "$1" journalctl --no-pager --output cat --unit "$2"
}

# What a package brings there of the gateway: programs, the unit, its user and directories. Its configuration is the test's.
machine_install_gateway() { # NAMESPACE
	local config=$tests_dir/../../config file
	tar -C "$BUILD" -c shardtund shardtunctl | on "$1" tar -xo -C /usr/sbin
	for file in sysusers tmpfiles; do
		on "$1" sh -c "mkdir -p /usr/lib/$file.d; cat >/usr/lib/$file.d/shardtun.conf" <"$config/systemd/$file.conf"
	done
	sed 's|@sbindir@|/usr/sbin|g' "$config/systemd/shardtund.service.in" |
		on "$1" sh -c 'cat >/etc/systemd/system/shardtund.service'
	on "$1" sh -c 'systemd-sysusers; systemd-tmpfiles --create shardtun.conf; systemctl daemon-reload'
}
