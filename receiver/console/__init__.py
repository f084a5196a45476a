"""The console: pages for operators. This file and `options` are light: web reads its settings without a console."""
