// SPDX-License-Identifier: Apache-2.0
#include "core/base/error.h"

#include <criterion/criterion.h>
#include <string.h>

Test(error, set_formats_the_text_and_returns_the_code)
{
	struct error error;
	cr_assert_eq(error_set(&error, -ENOENT, "file %s: %d", "x.conf", 7), -ENOENT);
	cr_assert_str_eq(error.text, "file x.conf: 7");
}

Test(error, null_is_accepted)
{
	cr_assert_eq(error_set(NULL, -EIO, "text"), -EIO);
	cr_assert_eq(error_prefix(NULL, -EIO, "text"), -EIO);
}

Test(error, prefix_goes_in_front)
{
	struct error error;
	error_set(&error, -EINVAL, "no such key");
	cr_assert_eq(error_prefix(&error, -EINVAL, "gateway.conf:%d: ", 12), -EINVAL);
	cr_assert_str_eq(error.text, "gateway.conf:12: no such key");
}

Test(error, too_long_texts_are_cut_and_terminated)
{
	struct error error;
	char huge[2 * sizeof error.text];
	memset(huge, 'x', sizeof huge - 1);
	huge[sizeof huge - 1] = '\0';

	error_set(&error, -EINVAL, "%s", huge);
	cr_assert_eq(strlen(error.text), sizeof error.text - 1);
	error_prefix(&error, -EINVAL, "ab: ");
	cr_assert_eq(strlen(error.text), sizeof error.text - 1);
	cr_assert_eq(strncmp(error.text, "ab: xx", 6), 0);
	error_prefix(&error, -EINVAL, "y%s", huge);
	cr_assert_eq(strlen(error.text), sizeof error.text - 1);
	cr_assert_eq(strncmp(error.text, "yxx", 3), 0, "a prefix that fills everything stands alone");
}
