"""The second opinion: every numeric step of a certificate, decided anew by other means than the kernel's."""
