// SPDX-License-Identifier: Apache-2.0
#include "core/base/printable.h"

#include <criterion/criterion.h>
#include <stdint.h>
#include <string.h>

#include "core/base/bytes.h"

/* What is written, and what is seen of it. */
static const struct {
	const char *text, *seen;
} cases[] = {
	{"", ""},
	{"vpn.example.net:5555", "vpn.example.net:5555"},
	{"B\xc3\xbcro \xe2\x82\xac \xf0\x9f\x90\xa2", "B\xc3\xbcro \xe2\x82\xac \xf0\x9f\x90\xa2"},
	{"\x1b]0;owned\x07", "\\x1b]0;owned\\x07"},
	{"\x1b[2J\x1b[1;31mroot:", "\\x1b[2J\\x1b[1;31mroot:"},
	{"one\ninfo: two\r\n", "one\\x0ainfo: two\\x0d\\x0a"},
	{"\t\b\x7f", "\\x09\\x08\\x7f"},
	{"\xc2\x9b"
	 "2J",
	 "\\xc2\\x9b"
	 "2J"}, /* CSI as one character */
	{"\x9b"
	 "2J",
	 "\\x9b"
	 "2J"}, /* the same in Latin-1 */
	// NOLINTNEXTLINE(misc-misleading-bidirectional): on purpose
	{"\xe2\x80\xae"
	 "txt.exe",
	 "\\xe2\\x80\\xae"
	 "txt.exe"}, /* right-to-left override */
	// NOLINTNEXTLINE(misc-misleading-bidirectional): on purpose
	{"\xe2\x81\xa6\xd8\x9c\xe2\x80\x8f", "\\xe2\\x81\\xa6\\xd8\\x9c\\xe2\\x80\\x8f"}, /* isolate, marks */
	{"a\xe2\x80\x8b"
	 "b",
	 "a\\xe2\\x80\\x8b"
	 "b"},					      /* no width */
	{"\xe2\x80\xa8", "\\xe2\\x80\\xa8"},	      /* line separator */
	{"\xf3\xa0\x81\xa1", "\\xf3\\xa0\\x81\\xa1"}, /* a tag */
	{"\xc0\x9b", "\\xc0\\x9b"},		      /* longer than needed */
	{"\xed\xa0\x80", "\\xed\\xa0\\x80"},	      /* a surrogate */
	{"\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80"}, /* beyond Unicode */
	{"\xff\xfe", "\\xff\\xfe"},		      /* no UTF-8 */
	{"\xc3", "\\xc3"},			      /* the end comes too soon */
	{"\xe2\x82(", "\\xe2\\x82("},
	{"a\xe3\x85\xa4", "a\\xe3\\x85\\xa4"}, /* a filler */
	{"\xef\xbf\xbf", "\\xef\\xbf\\xbf"},   /* no character */
};

Test(printable, what_a_terminal_would_obey_is_escaped)
{
	char out[256];
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		size_t length = printable_copy(out, sizeof out, cases[i].text);
		cr_expect_str_eq(out, cases[i].seen, "%zu: %s", i, out);
		cr_expect_eq(length, strlen(out));
		cr_expect_eq(printable_is(cases[i].text), strcmp(cases[i].text, cases[i].seen) == 0, "%zu", i);
		cr_expect(printable_is(out), "%zu: nothing is left to escape", i);
	}
}

Test(printable, a_text_is_cut_between_characters)
{
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		for (size_t size = 1; size <= strlen(cases[i].seen) + 1; size++) {
			char out[256];
			memset(out, '!', sizeof out);
			size_t length = printable_copy(out, size, cases[i].text);
			cr_expect_lt(length, size);
			cr_expect_eq(out[length], '\0');
			cr_expect_eq(out[size], '!', "nothing beyond the end");
			cr_expect_eq(strncmp(out, cases[i].seen, length), 0);
			cr_expect(printable_is(out), "%zu at %zu: %s", i, size, out);
		}
	}
}

/* Every byte alone, and every pair of bytes: nothing but printable ASCII and whole UTF-8 comes out. */
Test(printable, no_byte_slips_through)
{
	for (unsigned pair = 1; pair < 0x10000; pair++) {
		char text[3] = {(char)(pair & 0xff), (char)(pair >> 8), '\0'}, out[16];
		printable_copy(out, sizeof out, text);
		cr_assert(printable_is(out), "%04x", pair);
		for (const char *c = out; *c != '\0'; c++)
			cr_assert((uint8_t)*c >= 0x20 && (uint8_t)*c != 0x7f, "%04x", pair);
	}
}
