from django.db import migrations

from viewcounter.storage.named_sql import read_script


class Migration(migrations.Migration):
    dependencies = [("storage", "0005_log_identity")]
    operations = [migrations.RunSQL(read_script("0006_quarter_hours.sql"), migrations.RunSQL.noop)]
