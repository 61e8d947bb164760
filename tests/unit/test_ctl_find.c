// SPDX-License-Identifier: Apache-2.0
/* Which control socket is meant when none is named: the only one of a directory. */
#include "core/cli/ctl.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

Test(ctl, finds_the_only_socket_and_asks_when_there_are_several)
{
	char directory[] = "/tmp/test-ctl-XXXXXX";
	cr_assert_neq(mkdtemp(directory), NULL);
	struct error error;
	char found[CTL_PATH_MAX], missing[96], other[96], third[96];
	snprintf(missing, sizeof missing, "%s/run", directory);
	cr_assert_eq(ctl_find_socket(missing, found, &error), -ENOENT);
	cr_assert_neq(strstr(error.text, "--socket PATH"), NULL, "%s", error.text);
	cr_assert_eq(ctl_find_socket(directory, found, &error), -ENOENT, "an empty directory");

	snprintf(other, sizeof other, "%s/a.sock", directory);
	snprintf(third, sizeof third, "%s/b.conf", directory);
	close(open(other, O_CREAT | O_WRONLY, 0600));
	close(open(third, O_CREAT | O_WRONLY, 0600));
	cr_assert_eq(ctl_find_socket(directory, found, &error), 0, "%s", error.text);
	cr_assert_str_eq(found, other);
	unlink(third);

	snprintf(third, sizeof third, "%s/b.sock", directory);
	close(open(third, O_CREAT | O_WRONLY, 0600));
	cr_assert_eq(ctl_find_socket(directory, found, &error), -ENOTUNIQ);
	cr_assert(strstr(error.text, other) != NULL && strstr(error.text, third) != NULL, "%s", error.text);
	unlink(other);
	unlink(third);
	cr_assert_eq(rmdir(directory), 0);
}
