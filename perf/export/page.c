// SPDX-License-Identifier: Apache-2.0
#include "perf/export/page.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>

__asm__(".pushsection .rodata\n"
	".global page_html, page_html_end\n"
	"page_html:\n"
	".incbin \"perf/export/page.html\"\n"
	"page_html_end:\n"
	".byte 0\n" /* so that string functions stop */
	".popsection\n");

enum { HASH_TEXT_MAX = 64 };

/* Of what stands between the tags; CSP level 3, section 6.7.3.3. */
static const char *element_hash(const char *open, const char *close, char text[HASH_TEXT_MAX])
{
	unsigned char hash[crypto_hash_sha256_BYTES];
	const char *start = strstr(page_html, open);
	const char *end = start != NULL ? strstr(start, close) : NULL;
	text[0] = '\0';
	if (end == NULL)
		return text;
	start += strlen(open);
	crypto_hash_sha256(hash, (const unsigned char *)start, (unsigned long long)(end - start));
	return sodium_bin2base64(text, HASH_TEXT_MAX, hash, sizeof hash, sodium_base64_VARIANT_ORIGINAL);
}

const char *page_policy(char text[PAGE_POLICY_MAX])
{
	char script[HASH_TEXT_MAX], style[HASH_TEXT_MAX];
	(void)snprintf(text, PAGE_POLICY_MAX,
		       "default-src 'none'; script-src 'sha256-%s'; style-src 'sha256-%s'; connect-src 'self'; "
		       "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
		       element_hash("<script>", "</script>", script), element_hash("<style>", "</style>", style));
	return text;
}
