from django.db import migrations

from viewcounter.storage.named_sql import read_script


class Migration(migrations.Migration):
    dependencies = [("storage", "0007_log_sessions")]
    operations = [migrations.RunSQL(read_script("0008_producers.sql"), migrations.RunSQL.noop)]
