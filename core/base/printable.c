// SPDX-License-Identifier: Apache-2.0
#include "core/base/printable.h"

#include <stdint.h>
#include <string.h>

#include "core/base/bytes.h"

enum { ESCAPE_LENGTH = 4 /* \xNN */ };

/* How many bytes the character has that begins here; 0: it is no UTF-8 (RFC 3629). */
static size_t decode(const char *text, uint32_t *character)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000}; /* overlong forms are invalid */
	const unsigned char *bytes = (const unsigned char *)text;
	size_t length = bytes[0] < 0x80 ? 1 : bytes[0] < 0xc0 ? 0 : bytes[0] < 0xe0 ? 2 : bytes[0] < 0xf0 ? 3 : 4;
	if (length == 0 || bytes[0] > 0xf4)
		return 0;
	*character = length == 1 ? bytes[0] : bytes[0] & (0x7fu >> length);
	for (size_t i = 1; i < length; i++) {
		if ((bytes[i] & 0xc0) != 0x80) /* the terminator as well */
			return 0;
		*character = *character << 6 | (bytes[i] & 0x3f);
	}
	bool surrogate = *character >= 0xd800 && *character <= 0xdfff;
	return *character < least[length] || *character > 0x10ffff || surrogate ? 0 : length;
}

/* Beyond ASCII: the categories Cc, Cf, Zl and Zp of Unicode, and letters that are invisible. */
static const struct {
	uint32_t first, last;
} harmful[] = {
	{0x7f, 0x9f},	    /* delete, C1 controls */
	{0xad, 0xad},	    /* soft hyphen */
	{0x34f, 0x34f},	    /* grapheme joiner */
	{0x600, 0x605},	    /* marks that enclose digits */
	{0x61c, 0x61c},	    /* Arabic letter mark */
	{0x6dd, 0x6dd},	    /* marks that enclose */
	{0x70f, 0x70f},	    /* the same */
	{0x890, 0x891},	    /* the same */
	{0x8e2, 0x8e2},	    /* the same */
	{0x115f, 0x1160},   /* fillers */
	{0x17b4, 0x17b5},   /* invisible vowels */
	{0x180b, 0x180f},   /* selectors, separator */
	{0x200b, 0x200f},   /* no width, direction */
	{0x2028, 0x202e},   /* line, paragraph, direction */
	{0x2060, 0x206f},   /* no width, direction */
	{0x3164, 0x3164},   /* filler */
	{0xfe00, 0xfe0f},   /* variation selectors */
	{0xfeff, 0xfeff},   /* byte order mark */
	{0xffa0, 0xffa0},   /* filler */
	{0xfff0, 0xfffb},   /* annotations */
	{0x110bd, 0x110bd}, /* marks that enclose digits */
	{0x110cd, 0x110cd}, /* the same */
	{0x13430, 0x1345f}, /* formats of hieroglyphs */
	{0x1bca0, 0x1bca3}, /* of shorthand */
	{0x1d173, 0x1d17a}, /* of music */
	{0xe0000, 0xe0fff}, /* tags, variation selectors */
};

static bool is_harmless(uint32_t character)
{
	if (character < 0x7f)
		return character >= ' ';
	for (size_t i = 0; i < ARRAY_SIZE(harmful); i++) {
		if (character >= harmful[i].first && character <= harmful[i].last)
			return false;
	}
	return (character & 0xfffe) != 0xfffe; /* noncharacters */
}

/* The bytes that can be printed as they are; 0: the first cannot. */
static size_t printable_length(const char *text)
{
	uint32_t character;
	size_t length = decode(text, &character);
	return length != 0 && is_harmless(character) ? length : 0;
}

size_t printable_copy(char *out, size_t size, const char *text)
{
	static const char digits[] = "0123456789abcdef";
	size_t used = 0;
	while (*text != '\0') {
		size_t length = printable_length(text);
		if (used + (length != 0 ? length : ESCAPE_LENGTH) >= size)
			break;
		if (length != 0) {
			memcpy(out + used, text, length);
			used += length;
			text += length;
			continue;
		}
		/* Byte by byte: the rest of a character that is escaped is no UTF-8 by itself. */
		unsigned char byte = (unsigned char)*text++;
		const char escape[ESCAPE_LENGTH] = {'\\', 'x', digits[byte >> 4], digits[byte & 15]};
		memcpy(out + used, escape, sizeof escape);
		used += sizeof escape;
	}
	if (size != 0)
		out[used] = '\0';
	return used;
}

bool printable_is(const char *text)
{
	for (size_t length; *text != '\0'; text += length) {
		length = printable_length(text);
		if (length == 0)
			return false;
	}
	return true;
}
