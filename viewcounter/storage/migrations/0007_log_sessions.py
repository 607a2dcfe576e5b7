from django.db import migrations

from viewcounter.storage.named_sql import read_script


class Migration(migrations.Migration):
    dependencies = [("storage", "0006_quarter_hours")]
    operations = [migrations.RunSQL(read_script("0007_log_sessions.sql"), migrations.RunSQL.noop)]
