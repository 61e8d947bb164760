// SPDX-License-Identifier: Apache-2.0
/* A fuzzer's input, taken apart from the front. What is not there is zero or empty, so that every input is valid. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct input {
	const uint8_t *data;
	size_t left;
};

static inline uint8_t input_byte(struct input *input)
{
	if (input->left == 0)
		return 0;
	input->left--;
	return *input->data++;
}

static inline uint16_t input_u16(struct input *input)
{
	uint16_t high = input_byte(input);
	return (uint16_t)(high << 8 | input_byte(input));
}

/* A length and so many bytes, at most `room`, to `out`. Returns how many. */
static inline size_t input_bytes(struct input *input, uint8_t *out, size_t room)
{
	size_t length = input_u16(input);
	if (length > input->left)
		length = input->left;
	if (length > room)
		length = room;
	if (length != 0)
		memcpy(out, input->data, length);
	input->data += length;
	input->left -= length;
	return length;
}

/* What must hold whatever comes: the fuzzer stops and keeps the input when it does not. */
static inline void insist(bool holds, const char *what)
{
	if (holds)
		return;
	fprintf(stderr, "broken: %s\n", what);
	abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
