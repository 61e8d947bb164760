// SPDX-License-Identifier: Apache-2.0
/* genkey, pubkey and genpsk: keys from and to the standard streams, in the format of `wg genkey` and its kin. */
#pragma once

#include <stdbool.h>

#include "core/cli/cli.h"
#include "crypto/keys.h"

/* Whether that is one of the three commands. */
bool keytool_knows(const char *command);

/* Runs argv[0], a command that keytool_knows(); takes no further arguments. Prints one line, or one on standard error,
 * and returns what to exit with. A private or preshared key that goes to a file that others may read is warned of.
 * Needs keys_init(). */
enum cli_status keytool_run(const struct cli_program *program, int argc, char *const *argv);

/* --- for others who make keys ------------------------------------------------------------------------------------- */

/* New keys, in the caller's memory. */
void keytool_generate(char private_key[KEY_TEXT_SIZE], char public_key[KEY_TEXT_SIZE],
		      char preshared_key[KEY_TEXT_SIZE]);

/* Warns on standard error when standard output is a file that others may read. */
void keytool_warn_if_readable(const struct cli_program *program);

/* Writes a text with secrets to standard output, past stdio. 0, or a negative errno with `error` set. */
int keytool_print(const char *text, struct error *error);
