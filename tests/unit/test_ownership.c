// SPDX-License-Identifier: Apache-2.0
#include "core/host/ownership.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SOMEBODY = 64042 };

static char top[] = "/tmp/shardtun-ownership-XXXXXX", inner[64], file[64], link_path[64];

static void prepare(void)
{
	cr_assert_not_null(mkdtemp(top));
	(void)snprintf(inner, sizeof inner, "%s/inner", top);
	(void)snprintf(file, sizeof file, "%s/inner/file", top);
	(void)snprintf(link_path, sizeof link_path, "%s/link", top);
	cr_assert_eq(mkdir(inner, 0755), 0);
	int fd = open(file, O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
	cr_assert_geq(fd, 0);
	close(fd);
	cr_assert_eq(chmod(file, 0644), 0);
	cr_assert_eq(chmod(inner, 0755), 0);
	cr_assert_eq(symlink("inner/file", link_path), 0);
}

static void clean(void)
{
	(void)unlink(link_path);
	(void)unlink(file);
	(void)rmdir(inner);
	(void)rmdir(top);
}

TestSuite(ownership, .init = prepare, .fini = clean);

static void refused(const char *path, const char *why)
{
	struct error error = {0};
	cr_expect_eq(ownership_check(path, &error), -EPERM, "%s", path);
	cr_expect_not_null(strstr(error.text, why), "%s", error.text);
}

static void accepted(const char *path)
{
	struct error error = {0};
	cr_expect_eq(ownership_check(path, &error), 0, "%s", error.text);
}

Test(ownership, what_is_ours_all_the_way_is_right)
{
	accepted(file);
	accepted(inner);
	accepted(link_path);
	accepted("/");
	cr_assert_eq(chdir(top), 0);
	accepted("inner/file");
	accepted(".");
	cr_expect_eq(ownership_check("nothing", NULL), -ENOENT);
}

Test(ownership, what_others_may_write_is_not)
{
	cr_assert_eq(chmod(file, 0664), 0);
	refused(file, "others than root may write to it (mode 0664)");
	refused(link_path, "others than root may write to it");
	cr_assert_eq(chmod(file, 0646), 0);
	refused(file, "(mode 0646)");
	cr_assert_eq(chmod(file, 0644), 0);
	cr_assert_eq(chmod(inner, 0775), 0);
	refused(file, inner);
	/* Sticky, as /tmp: every user may add files, none may replace another's. */
	cr_assert_eq(chmod(inner, 01777), 0);
	accepted(file);
	refused(inner, "(mode 1777)");
	cr_assert_eq(chmod(inner, 0755), 0);
}

Test(ownership, what_is_somebody_elses_is_not)
{
	if (geteuid() != 0) {
		cr_skip_test("needs root");
		return;
	}
	cr_assert_eq(chown(file, SOMEBODY, 0), 0);
	refused(file, "belongs to user ID 64042");
	cr_assert_eq(chown(file, 0, SOMEBODY), 0);
	accepted(file);
	cr_assert_eq(chown(inner, SOMEBODY, 0), 0);
	refused(file, inner);
	cr_assert_eq(chown(inner, 0, 0), 0);
	cr_assert_eq(lchown(link_path, SOMEBODY, 0), 0);
	refused(link_path, link_path);
}
