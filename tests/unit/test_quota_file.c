// SPDX-License-Identifier: Apache-2.0
/* The file of quotas: its lines, and whatever others do to it. */
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "tests/unit/quota_gateway.h"

Test(quota_file, lines_are_written_and_read)
{
	struct usage_line line = {.period = CALENDAR_WEEK, .number = 1, .clock = 99999999, .used = UINT64_MAX}, read;
	char text[QUOTA_LINE], wrong[QUOTA_LINE];
	memset(line.public_key, 0xa5, KEY_SIZE);
	quota_line_format(&line, text);
	cr_assert(quota_line_parse(text, QUOTA_LINE, &read));
	cr_assert_eq(memcmp(read.public_key, line.public_key, KEY_SIZE), 0);
	cr_expect(read.period == line.period && read.number == 1 && read.clock == 99999999 && read.used == UINT64_MAX);
	cr_expect(!quota_line_parse(text, QUOTA_LINE - 1, &read));
	/* No byte may be another kind of byte. */
	for (size_t i = 0; i < QUOTA_LINE; i++) {
		memcpy(wrong, text, QUOTA_LINE);
		wrong[i] = '~';
		cr_expect(!quota_line_parse(wrong, QUOTA_LINE, &read), "%zu", i);
		wrong[i] = '\0';
		cr_expect(!quota_line_parse(wrong, QUOTA_LINE, &read), "%zu", i);
	}
	memcpy(wrong, text, QUOTA_LINE);
	wrong[QUOTA_LINE - 1 - 20] = '9'; /* 98446744073709551615 */
	cr_expect(!quota_line_parse(wrong, QUOTA_LINE, &read));
}

Test(quota_file, malformed_lines_are_skipped_and_the_others_count)
{
	char text[16 * QUOTA_LINE];
	start(CALENDAR_MONTH);
	add_peer(1, 10 * MEGA, CALENDAR_MONTH);
	add_peer(2, 10 * MEGA, CALENDAR_MONTH);
	for (size_t peer = 0; peer < 3; peer++)
		use(peer, 1000 + peer);
	halt();
	const char *whole = content();
	snprintf(text, sizeof text,
		 "%.*snonsense\n\n%.*s%.*sa line that is longer than any of ours, and then some more: "
		 "0123456789012345678901234567890123456789012345678901234567890123456789\n%.*s",
		 2 * QUOTA_LINE, whole, QUOTA_LINE, whole + 2 * QUOTA_LINE, QUOTA_LINE, whole + QUOTA_LINE,
		 QUOTA_LINE - 10, whole + 3 * QUOTA_LINE);
	put_content(text);
	boot();
	for (size_t peer = 0; peer < 3; peer++)
		add_peer(peer, 10 * MEGA, CALENDAR_MONTH);
	open_quota();
	cr_expect_eq(used(0), 1000u);
	cr_expect_eq(used(1), 1001u);
	cr_expect_eq(used(2), 0u, "the line was truncated");
	use(2, 7);
	halt();
	/* What is there now is right, and read without a complaint. */
	cr_expect_eq(strlen(content()) % QUOTA_LINE, 0u);
	cr_expect_null(strstr(content(), "nonsense"));
	boot();
	for (size_t peer = 0; peer < 3; peer++)
		add_peer(peer, 10 * MEGA, CALENDAR_MONTH);
	open_quota();
	cr_expect(used(0) == 1000 && used(1) == 1001 && used(2) == 7);
	halt();
	/* Zeroes, as of a hole, in the first line. */
	FILE *out = fopen(path, "r+");
	cr_assert_not_null(out);
	cr_assert_eq(fseek(out, QUOTA_LINE, SEEK_SET), 0);
	cr_assert_eq(fwrite((char[QUOTA_LINE / 2]){0}, QUOTA_LINE / 2, 1, out), 1u);
	fclose(out);
	boot();
	for (size_t peer = 0; peer < 3; peer++)
		add_peer(peer, 10 * MEGA, CALENDAR_MONTH);
	open_quota();
	cr_expect(used(0) + used(1) + used(2) == 2008 - 1000 || used(0) + used(1) + used(2) == 2008 - 1001);
	end();
}

Test(quota_file, a_file_of_something_else_is_no_reason_not_to_start)
{
	static const char *const others[] = {"", "\n", "#\n", "[Gateway]\nPort = 1\n", "\xff\xfe"};
	start(CALENDAR_MONTH);
	for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
		halt();
		put_content(others[i]);
		again(CALENDAR_MONTH);
		cr_expect_eq(used(0), 0u);
		use(0, 5);
		pass_s(1);
		crash();
		again(CALENDAR_MONTH);
		cr_expect_eq(used(0), 5u, "%zu", i);
	}
	end();
}

Test(quota_file, a_file_that_is_removed_truncated_or_replaced_is_written_anew)
{
	char other[128];
	start(CALENDAR_MONTH);
	add_peer(1, 10 * MEGA, CALENDAR_MONTH);
	use(1, 3);
	pass_s(1);
	for (int way = 0; way < 3; way++) {
		snprintf(other, sizeof other, "%s.other", path);
		if (way == 0)
			cr_assert_eq(unlink(path), 0);
		else if (way == 1)
			cr_assert_eq(truncate(path, 10), 0);
		else
			cr_assert(rename(path, other) == 0 && symlink("/dev/null", path) == 0);
		use(0, 1000);
		pass_s(1);
		cr_expect(!quota.failed && !quota.rewrite);
		use(0, 1);
		pass_s(1);
		crash();
		boot();
		add_peer(0, 10 * MEGA, CALENDAR_MONTH);
		add_peer(1, 10 * MEGA, CALENDAR_MONTH);
		open_quota();
		cr_expect_eq(used(0), 1001u * (unsigned)(way + 1), "%d", way);
		cr_expect_eq(used(1), 3u, "%d", way);
	}
	end();
}

Test(quota_file, a_directory_that_goes_and_comes)
{
	char other[128];
	start(CALENDAR_MONTH);
	use(0, 1000);
	snprintf(other, sizeof other, "%s/away", directory);
	cr_assert_eq(rename(own, other), 0);
	pass_s(1);
	cr_expect(quota.failed);
	use(0, 1);
	pass_s(1);
	cr_expect(quota.failed);
	cr_assert_eq(mkdir(own, 0700), 0);
	pass_s(1);
	cr_expect(!quota.failed);
	crash();
	again(CALENDAR_MONTH);
	cr_expect_eq(used(0), 1001u);
	end();
}

Test(quota_file, a_full_disk_is_tried_again)
{
	struct rlimit limit, before;
	start(CALENDAR_MONTH);
	add_peer(1, 10 * MEGA, CALENDAR_MONTH);
	use(0, 1000);
	pass_s(1);
	signal(SIGXFSZ, SIG_IGN);
	cr_assert_eq(getrlimit(RLIMIT_FSIZE, &before), 0);
	limit = (struct rlimit){.rlim_cur = 2 * QUOTA_LINE + 5, .rlim_max = before.rlim_max};
	cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
	use(0, 1);
	use(1, 20);
	pass_s(1);
	cr_expect(quota.failed);
	use(1, 1);
	pass_s(1);
	cr_expect(quota.failed);
	cr_assert_eq(setrlimit(RLIMIT_FSIZE, &before), 0);
	pass_s(1);
	cr_expect(!quota.failed);
	crash();
	boot();
	add_peer(0, 10 * MEGA, CALENDAR_MONTH);
	add_peer(1, 10 * MEGA, CALENDAR_MONTH);
	open_quota();
	cr_expect(used(0) == 1001 && used(1) == 21);
	end();
}

Test(quota_file, a_file_that_cannot_be_used_is_refused)
{
	struct error error = {0};
	char other[128];
	struct quota second = {0};
	start(CALENDAR_MONTH);
	const struct quota_params params = {.registry = &registry, .clock = &manual.base, .path = path};
	cr_expect_eq(quota_open(&second, &params, &error), -EWOULDBLOCK);
	cr_expect_not_null(strstr(error.text, "another gateway uses it"), "%s", error.text);
	halt();

	snprintf(other, sizeof other, "%s.other", path);
	cr_assert_eq(link(path, other), 0);
	boot();
	add_peer(0, 10 * MEGA, CALENDAR_MONTH);
	cr_expect_neq(try_open(&error), 0, "another name of another's file");
	cr_expect_not_null(strstr(error.text, path), "%s", error.text);
	cr_assert_eq(unlink(path), 0);
	cr_assert_eq(symlink(other, path), 0);
	cr_expect_neq(try_open(&error), 0, "a link");
	cr_assert(unlink(path) == 0 && mkdir(path, 0700) == 0);
	cr_expect_neq(try_open(&error), 0, "a directory");
	cr_assert(rmdir(path) == 0 && mkfifo(path, 0600) == 0);
	cr_expect_neq(try_open(&error), 0, "a pipe");
	cr_assert_eq(unlink(path), 0);
	open_quota();
	end();
}

/* Another gateway's records are in another order, and its file stays locked until both have closed it. */
Test(quota_file, the_next_process_reads_it_and_writes_when_it_owns_it)
{
	struct error error = {0};
	char before[16 * QUOTA_LINE];
	start(CALENDAR_MONTH);
	use(0, 1000);
	pass_s(1);
	int given = fcntl(quota.file.fd, F_DUPFD_CLOEXEC, 0), held = quota.file.fd;
	cr_assert_geq(given, 0);
	quota.file.fd = -1; /* the first process's */
	crash();
	strcpy(before, content());

	boot();
	add_peer(1, 10 * MEGA, CALENDAR_MONTH);
	add_peer(0, 10 * MEGA, CALENDAR_MONTH);
	struct quota_params params = {.registry = &registry,
				      .clock = &manual.base,
				      .ender = &ender,
				      .path = path,
				      .events = &events,
				      .given = &given};
	cr_assert_eq(quota_open(&quota, &params, &error), 0, "%s", error.text);
	cr_expect_eq(given, -1, "it is taken");
	cr_expect_eq(used(0), 1000u);
	use(0, 1);
	use(1, 7);
	pass_s(1);
	cr_expect_str_eq(content(), before, "nothing is written");
	halt();
	cr_expect_str_eq(content(), before, "nor at the end");

	boot();
	add_peer(1, 10 * MEGA, CALENDAR_MONTH);
	add_peer(0, 10 * MEGA, CALENDAR_MONTH);
	given = fcntl(held, F_DUPFD_CLOEXEC, 0);
	cr_assert_eq(quota_open(&quota, &params, &error), 0, "%s", error.text);
	use(0, 2);
	use(1, 8);
	quota_take_over(&quota);
	cr_expect_not_null(strstr(content(), "00000000000000001002"));
	cr_expect_not_null(strstr(content(), "00000000000000000008"));
	close(held);
	params.given = NULL;
	struct quota second = {0};
	cr_expect_eq(quota_open(&second, &params, &error), -EWOULDBLOCK, "it is locked");
	pass_s(1);
	halt();

	/* Another file than the configuration's is not the quotas'. */
	boot();
	add_peer(0, 10 * MEGA, CALENDAR_MONTH);
	given = open("/dev/null", O_RDWR | O_CLOEXEC);
	params.given = &given;
	cr_assert_eq(quota_open(&quota, &params, &error), 0, "%s", error.text);
	cr_expect_geq(given, 0);
	close(given);
	cr_expect_eq(used(0), 1002u);
	end();
}

/* Where no peer has a quota, nothing is opened; the first one that gets one has it opened. */
Test(quota_file, without_quotas_there_is_no_file)
{
	struct error error = {0};
	start(CALENDAR_MONTH);
	halt();
	cr_assert_eq(unlink(path), 0);
	boot();
	add_peer(0, 0, CALENDAR_DAY);
	open_quota();
	pass_s(1);
	cr_expect_neq(access(path, F_OK), 0);
	struct error refused;
	cr_assert_eq(rmdir(own), 0);
	cr_expect_eq(quota_ready(&quota, &refused), -ENOENT);
	cr_expect_not_null(strstr(refused.text, "QuotaFile = "), "%s", refused.text);
	cr_assert_eq(mkdir(own, 0700), 0);
	cr_assert_eq(quota_ready(&quota, &error), 0, "%s", error.text);
	add_peer(1, 10 * MEGA, CALENDAR_DAY);
	use(1, 10);
	halt();
	boot();
	add_peer(1, 10 * MEGA, CALENDAR_DAY);
	open_quota();
	cr_expect_eq(used(1), 10u);
	end();
}
