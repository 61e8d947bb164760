# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2154 # lib.sh has dir and tests_dir
# A service manager that keeps descriptors, played by tests/netns/tools/fd_store.py. After lib.sh.

manager() { # REQUEST...
	"$tests_dir/tools/fd_store.py" tell "$dir/store" "$@"
}

# It runs the script $dir/gateway, which has to become the gateway under the same pid, in the namespace of that name.
manager_start() {
	chmod +x "$dir/gateway"
	start manager gateway "$tests_dir/tools/fd_store.py" run "$dir/store" "$dir/gateway"
	wait_for 30 grep -qx serving "$dir/manager.log"
}

ready() { # TIMES
	[[ $(manager ready) -ge $1 ]]
}
