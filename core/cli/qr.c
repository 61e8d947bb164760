// SPDX-License-Identifier: Apache-2.0
#include "core/cli/qr.h"

#include <qrencode.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

enum { QUIET_ZONE = 4 /* modules on each side: ISO/IEC 18004 */ };

static bool is_dark(const QRcode *code, int row, int column)
{
	return row >= 0 && row < code->width && column >= 0 && column < code->width &&
	       (code->data[row * code->width + column] & 1) != 0;
}

static void write_rows(FILE *out, const QRcode *code, const char *lead)
{
	/* Indexed by whether the upper and the lower module are dark. */
	static const char *const blocks[2][2] = {{"█", "▀"}, {"▄", " "}};
	for (int row = -QUIET_ZONE; row < code->width + QUIET_ZONE; row += 2) {
		fputs(lead, out);
		for (int column = -QUIET_ZONE; column < code->width + QUIET_ZONE; column++)
			fputs(blocks[is_dark(code, row, column)][is_dark(code, row + 1, column)], out);
		fputc('\n', out);
	}
}

char *qr_format(const char *data, const char *lead, struct error *error)
{
	/* The lowest level of error correction: a screen has no scratches, and a smaller code fits on more screens. */
	QRcode *code = QRcode_encodeString(data, 0, QR_ECLEVEL_L, QR_MODE_8, 1);
	if (code == NULL) {
		error_set(error, -errno, "QR code: %s",
			  errno == ERANGE ? "the text is too long for one; leave --qr away" : strerror(errno));
		return NULL;
	}
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);
	if (out != NULL) {
		write_rows(out, code, lead);
		if (fclose(out) != 0) {
			free(text);
			text = NULL;
		}
	}
	explicit_bzero(code->data, (size_t)code->width * (size_t)code->width);
	QRcode_free(code);
	if (text == NULL)
		error_set(error, -ENOMEM, "QR code: out of memory");
	return text;
}
