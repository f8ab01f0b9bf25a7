//! CSV: typed columns of a text file, and the schema under which more such files are read.
//!
//! RFC 4180, with any separator; a byte-order mark and either line end are accepted, quoted cells may hold separators and
//! line ends, spaces around a cell are dropped. What a program could only guess at is refused: a ragged row, an empty
//! cell, a number that is none.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use thalweg_array::Array;

use crate::dataset::{Dataset, find};
use crate::error::DataError;
use crate::records::{Format, Record, Records};

/// A column, by name or by position from 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ColumnRef {
    /// By its name in the header.
    Name(String),
    /// By its position.
    Index(usize),
}

impl From<&str> for ColumnRef {
    fn from(name: &str) -> ColumnRef {
        ColumnRef::Name(name.to_string())
    }
}

impl From<usize> for ColumnRef {
    fn from(index: usize) -> ColumnRef {
        ColumnRef::Index(index)
    }
}

impl ColumnRef {
    fn resolve(&self, names: &[String]) -> Result<usize, DataError> {
        let (index, column) = match self {
            ColumnRef::Name(name) => (names.iter().position(|known| known == name), name.clone()),
            ColumnRef::Index(index) => (Some(*index).filter(|&index| index < names.len()), index.to_string()),
        };
        index.ok_or_else(|| DataError::NoColumn { column, known: names.to_vec() })
    }
}

/// How a CSV file is read: with a header and commas, unless said otherwise.
///
/// A column whose first cell is a number holds numbers, and every other cell must then be one too; the others hold names
/// of categories. [`category`](Csv::category) and [`class`](Csv::class) say it for columns of numbers that are names.
///
/// ```
/// use thalweg_data::Csv;
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("flowers.csv");
/// std::fs::write(&path, "length,width,kind\n5.1,3.5,iris\n1.4,0.2,daisy\n")?;
/// let table = Csv::new().class("kind").read(&path)?;
/// let data = table.dataset()?;
/// assert_eq!(data["features"].shape(), [2, 2]);
/// assert_eq!(data["label"].as_slice::<i64>()?, [1, 0]);
/// assert_eq!(data.classes(), ["daisy", "iris"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Csv {
    format: Format,
    categories: Vec<ColumnRef>,
    ignored: Vec<ColumnRef>,
    target: Option<(ColumnRef, Role)>,
}

impl Default for Csv {
    fn default() -> Csv {
        Csv::new()
    }
}

impl Csv {
    /// With a header, separated by commas, without comments.
    pub fn new() -> Csv {
        let format = Format { skipped: 0, header: true, separator: b',', comment: None };
        Csv { format, categories: Vec::new(), ignored: Vec::new(), target: None }
    }

    /// The first line is data; the columns are called `c0`, `c1`, …
    pub fn without_header(mut self) -> Csv {
        self.format.header = false;
        self
    }

    /// The first `count` lines are not of the table; the header, if there is one, comes after them.
    pub fn skip_lines(mut self, count: usize) -> Csv {
        self.format.skipped = count;
        self
    }

    /// Cells are separated by this byte: `b';'`, `b'\t'`.
    pub fn separator(mut self, separator: u8) -> Csv {
        self.format.separator = separator;
        self
    }

    /// Lines that begin with this byte are left out.
    pub fn comment(mut self, comment: u8) -> Csv {
        self.format.comment = Some(comment);
        self
    }

    /// This column holds names of categories, even if they look like numbers.
    pub fn category(mut self, column: impl Into<ColumnRef>) -> Csv {
        self.categories.push(column.into());
        self
    }

    /// This column is left out; it may hold anything.
    pub fn ignore(mut self, column: impl Into<ColumnRef>) -> Csv {
        self.ignored.push(column.into());
        self
    }

    /// This column is what is to be learned, a class.
    pub fn class(mut self, column: impl Into<ColumnRef>) -> Csv {
        self.target = Some((column.into(), Role::Class));
        self
    }

    /// This column is what is to be learned, a number.
    pub fn value(mut self, column: impl Into<ColumnRef>) -> Csv {
        self.target = Some((column.into(), Role::Value));
        self
    }

    /// Reads the file at `path` (plain or gzip); kinds and categories of the columns are taken from it.
    ///
    /// # Errors
    /// If the file cannot be read or is not UTF-8, has no rows, a row of another length, a cell that is empty or not of
    /// its column's kind, two columns of one name, a quote that is not closed, or lacks a column that was named.
    pub fn read(&self, path: impl AsRef<Path>) -> Result<Table, DataError> {
        let records = Records::read(path.as_ref(), &self.format)?;
        let names = &records.names;
        let mut roles = vec![Role::Feature; names.len()];
        for column in &self.ignored {
            roles[column.resolve(names)?] = Role::Ignored;
        }
        if let Some((column, role)) = &self.target {
            roles[column.resolve(names)?] = *role;
        }
        let mut is_category: Vec<bool> = roles.iter().map(|role| *role == Role::Class).collect();
        for column in &self.categories {
            is_category[column.resolve(names)?] = true;
        }
        let columns = names.iter().zip(&records.rows[0].cells).enumerate().map(|(index, (name, first))| {
            let is_number = looks_like_a_number(first) || roles[index] == Role::Value;
            let kind = if is_category[index] || !is_number { Kind::Category(Vec::new()) } else { Kind::Number };
            Column { name: name.clone(), role: roles[index], kind }
        });
        let schema = Schema { format: self.format, columns: columns.collect() };
        Table::of(path.as_ref(), &records, schema, true)
    }
}

/// What a column is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// An input.
    Feature,
    /// Left out.
    Ignored,
    /// What is to be learned, a class.
    Class,
    /// What is to be learned, a number.
    Value,
}

/// What the cells of a column are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Finite numbers.
    Number,
    /// Names; the number of a name is its position here. In the order of the numbers if all are whole numbers, of the
    /// alphabet otherwise.
    Category(Vec<String>),
}

/// One column of a [`Schema`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub role: Role,
    /// What its cells are.
    pub kind: Kind,
}

/// The columns of a table with their categories: what a model that was trained on it must know to read more rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schema {
    format: Format,
    columns: Vec<Column>,
}

impl Schema {
    /// The columns, in the order of the file.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// Reads another file of the same columns; a category gets the number it has here.
    ///
    /// # Errors
    /// As [`Csv::read`]; or if the columns are others, or a category is unknown here.
    pub fn read(&self, path: impl AsRef<Path>) -> Result<Table, DataError> {
        let records = Records::read(path.as_ref(), &self.format)?;
        if !records.names.iter().eq(self.columns.iter().map(|column| &column.name)) {
            let known: Vec<&str> = self.columns.iter().map(|column| &*column.name).collect();
            let (expected, found) = (known.join(", "), records.names.join(", "));
            return Err(DataError::malformed(path.as_ref(), "columns", expected, found));
        }
        Table::of(path.as_ref(), &records, self.clone(), false)
    }
}

/// The columns of a CSV file as arrays.
#[derive(Clone, Debug)]
pub struct Table {
    schema: Schema,
    columns: Vec<(String, Array)>,
}

impl Table {
    /// What the columns are.
    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    /// The column `name`: numbers as f32, categories as i64.
    ///
    /// # Errors
    /// If there is none, or it is ignored.
    pub fn column(&self, name: &str) -> Result<&Array, DataError> {
        find(&self.columns, name)
    }

    /// The table as a data set: `features`, f32 `[n, k]`, the inputs that are numbers; `categories`, i64 `[n, m]`, those
    /// that are not; and `label`, i64 `[n]` with class names, or `target`, f32 `[n]`. What the table lacks is left out.
    ///
    /// # Errors
    /// If every column is ignored.
    pub fn dataset(&self) -> Result<Dataset, DataError> {
        let (mut numbers, mut categories, mut target) = (Vec::new(), Vec::new(), None);
        let mut classes = Vec::new();
        let kept = self.schema.columns.iter().filter(|column| column.role != Role::Ignored);
        for (column, (_, array)) in kept.zip(&self.columns) {
            match (column.role, &column.kind) {
                (Role::Feature, Kind::Number) => numbers.push(array.as_slice::<f32>()?),
                (Role::Feature, Kind::Category(_)) => categories.push(array.as_slice::<i64>()?),
                (Role::Class | Role::Value, kind) => {
                    target = Some((if column.role == Role::Class { "label" } else { "target" }, array.clone()));
                    if let Kind::Category(names) = kind {
                        classes = names.clone();
                    }
                }
                (Role::Ignored, _) => {}
            }
        }
        let mut columns = Vec::new();
        if !numbers.is_empty() {
            columns.push(("features", side_by_side(&numbers)?));
        }
        if !categories.is_empty() {
            columns.push(("categories", side_by_side(&categories)?));
        }
        columns.extend(target);
        Ok(Dataset::new(columns)?.with_classes(classes))
    }

    /// The columns of `records` under `schema`; `learns` fills in its categories.
    fn of(path: &Path, records: &Records, mut schema: Schema, learns: bool) -> Result<Table, DataError> {
        let mut columns = Vec::new();
        for (index, column) in schema.columns.iter_mut().enumerate() {
            if column.role == Role::Ignored {
                continue;
            }
            let cell = |row: usize, record: &Record, reason: String| {
                let (path, name) = (path.to_path_buf(), column.name.clone());
                DataError::Cell { path, row, line: record.line, column: name, reason }
            };
            let cells = records.rows.iter().enumerate().map(|(row, record)| (row, record, &*record.cells[index]));
            if let Some((row, record, _)) = cells.clone().find(|(_, _, text)| text.is_empty()) {
                return Err(cell(row, record, "is empty".into()));
            }
            let array = match &column.kind {
                Kind::Number => {
                    let number = |(row, record, text)| number(text).map_err(|reason| cell(row, record, reason));
                    Array::from(cells.map(number).collect::<Result<Vec<f32>, _>>()?)
                }
                Kind::Category(known) => {
                    let names = if learns { in_order(cells.clone().map(|(_, _, text)| text)) } else { known.clone() };
                    let codes: BTreeMap<&str, i64> = names.iter().map(|name| &**name).zip(0..).collect();
                    let code = |(row, record, text): (usize, &Record, &str)| {
                        codes.get(text).copied().ok_or_else(|| cell(row, record, unknown(text, &names)))
                    };
                    let codes = cells.map(code).collect::<Result<Vec<i64>, _>>()?;
                    column.kind = Kind::Category(names);
                    Array::from(codes)
                }
            };
            columns.push((column.name.clone(), array));
        }
        Ok(Table { schema, columns })
    }
}

/// Columns of equal length as the columns of one array.
fn side_by_side<T: thalweg_array::Element>(columns: &[&[T]]) -> Result<Array, DataError> {
    let rows = columns[0].len();
    let elements = (0..rows).flat_map(|row| columns.iter().map(move |column| column[row])).collect();
    Ok(Array::new(&[rows, columns.len()], elements)?)
}

/// The names that occur, each once: by number if all are whole numbers, by the alphabet otherwise.
fn in_order<'a>(cells: impl Iterator<Item = &'a str>) -> Vec<String> {
    let names: std::collections::BTreeSet<&str> = cells.collect();
    let mut names: Vec<&str> = names.into_iter().collect();
    if names.iter().all(|name| name.parse::<i64>().is_ok()) {
        names.sort_by_key(|name| name.parse::<i64>().unwrap_or_default());
    }
    names.into_iter().map(str::to_string).collect()
}

fn looks_like_a_number(text: &str) -> bool {
    text.is_empty() || text.replace(',', ".").parse::<f64>().is_ok()
}

fn number(text: &str) -> Result<f32, String> {
    match text.parse::<f64>() {
        Ok(x) if (x as f32).is_finite() => Ok(x as f32),
        Ok(_) if text.contains(|c: char| c.is_ascii_digit()) => {
            Err(format!("`{}` is larger than f32 can hold", shortened(text)))
        }
        Ok(_) => Err(format!("`{text}` is not finite")),
        Err(_) if looks_like_a_number(text) => {
            Err(format!("`{}` is not a number; a decimal point is written `.`", shortened(text)))
        }
        Err(_) => {
            let text = shortened(text);
            Err(format!("`{text}` is not a number; declare the column as a category if it holds names"))
        }
    }
}

fn unknown(text: &str, names: &[String]) -> String {
    const SHOWN: usize = 10;
    let more = if names.len() > SHOWN { format!(", … ({} in all)", names.len()) } else { String::new() };
    let known = names[..names.len().min(SHOWN)].join(", ");
    format!("`{}` did not occur in training; known are: {known}{more}", shortened(text))
}

/// The beginning of a text that may be long.
fn shortened(text: &str) -> String {
    const SHOWN: usize = 40;
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The file that a test writes, in a folder that lives as long as it does.
    struct Written(tempfile::TempDir);

    impl Written {
        fn new(content: impl AsRef<[u8]>) -> Written {
            let folder = tempfile::tempdir().unwrap();
            std::fs::write(folder.path().join("table.csv"), content).unwrap();
            Written(folder)
        }

        fn path(&self) -> std::path::PathBuf {
            self.0.path().join("table.csv")
        }
    }

    fn read(csv: &Csv, content: impl AsRef<[u8]>) -> Result<Table, DataError> {
        csv.read(Written::new(content).path())
    }

    fn refusal(csv: &Csv, content: impl AsRef<[u8]>) -> String {
        read(csv, content).unwrap_err().to_string()
    }

    #[test]
    fn columns_are_typed_and_gathered() {
        let csv = Csv::new().class("kind").ignore("id");
        let table = read(&csv, "id,size,color,kind,weight\n,1,red,2,0.5\nx, 2.5 ,blue,10,-1e3\n,3,red,2,0\n").unwrap();
        let data = table.dataset().unwrap();
        assert_eq!(data["features"], Array::from([[1.0f32, 0.5], [2.5, -1000.0], [3.0, 0.0]]));
        assert_eq!(data["categories"], Array::from([[1i64], [0], [1]]));
        assert_eq!(data["label"], Array::from([0i64, 1, 0]));
        assert_eq!(data.classes(), ["2", "10"]);
        assert_eq!(table.column("color").unwrap(), &Array::from([1i64, 0, 1]));
        assert!(table.column("id").unwrap_err().to_string().contains("size, color, kind, weight"));
    }

    #[test]
    fn columns_are_found_by_position() {
        let csv = Csv::new().without_header().separator(b';').value(1).category(0);
        let data = read(&csv, "7;0.5\n8;1.5\n").unwrap().dataset().unwrap();
        assert_eq!(data["target"], Array::from([0.5f32, 1.5]));
        assert_eq!(data["categories"], Array::from([[0i64], [1]]));
        assert!(data.classes().is_empty());
    }

    #[test]
    fn cells_that_are_no_numbers_are_refused_with_row_line_and_column() {
        let csv = Csv::new();
        for (cell, reason) in [
            ("", "is empty"),
            ("  ", "is empty"),
            ("NaN", "`NaN` is not finite"),
            ("-inf", "`-inf` is not finite"),
            ("1e400", "`1e400` is larger than f32 can hold"),
            ("1e39", "`1e39` is larger than f32 can hold"),
            ("\"1,5\"", "`1,5` is not a number; a decimal point is written `.`"),
            ("red", "`red` is not a number; declare the column as a category"),
            ("?", "`?` is not a number"),
        ] {
            let message = refusal(&csv, format!("a,b\n1,2\n\n3,{cell}\n"));
            assert!(message.contains(&format!("table.csv: row 1 (line 4), column `b`: {reason}")), "{message}");
        }
        let message = refusal(&csv, "a,b\n1,\"1,5\"\n");
        assert!(message.contains("row 0 (line 2), column `b`: `1,5` is not a number"), "{message}");
        let message = refusal(&csv, format!("a,b\n1,2\n3,{}\n", "é".repeat(500)));
        assert!(message.contains("é…` is not") && message.len() < 400, "{message}");
        let message = refusal(&Csv::new().value("b"), "a,b\n1,high\n");
        assert!(message.contains("column `b`: `high` is not a number"), "{message}");
    }

    #[test]
    fn columns_that_are_not_there_are_refused() {
        for csv in [Csv::new().class("kind"), Csv::new().value("kind"), Csv::new().ignore("kind")] {
            assert_eq!(refusal(&csv, "a,b\n1,2\n"), "no column `kind`; there are: a, b");
        }
        assert_eq!(refusal(&Csv::new().class(2), "a,b\n1,2\n"), "no column `2`; there are: a, b");
        assert!(read(&Csv::new().ignore("a"), "a\n1\n").unwrap().dataset().is_err());
    }

    #[test]
    fn more_rows_are_read_under_the_same_schema() {
        let table = read(&Csv::new().class("kind"), "x,kind\n1,b\n2,c\n3,a\n").unwrap();
        let schema: Schema = serde_json::from_str(&serde_json::to_string(table.schema()).unwrap()).unwrap();
        assert_eq!(&schema, table.schema());
        let data = schema.read(Written::new("x,kind\n9,c\n").path()).unwrap().dataset().unwrap();
        assert_eq!(data["label"], Array::from([2i64]));
        assert_eq!(data.classes(), ["a", "b", "c"]);
        let message = schema.read(Written::new("x,kind\n9,c\n9,d\n").path()).unwrap_err().to_string();
        let expected = "row 1 (line 3), column `kind`: `d` did not occur in training; known are: a, b, c";
        assert!(message.contains(expected), "{message}");
        let message = schema.read(Written::new("x,sort\n9,c\n").path()).unwrap_err().to_string();
        assert!(message.contains("columns: expected x, kind, found x, sort"), "{message}");
    }

    #[test]
    fn real_tables_are_read() {
        let Some(data) = std::env::var_os("THALWEG_DATA") else {
            eprintln!("skipped: THALWEG_DATA is not set");
            return;
        };
        let data = Path::new(&data);
        let digits = Csv::new().without_header().class(64).read(data.join("sklearn/digits.csv.gz")).unwrap();
        let (table, embedded) = (digits.dataset().unwrap(), crate::digits());
        assert_eq!(table["features"].reshape(&[1797, 8, 8]).unwrap(), embedded["image"]);
        assert_eq!(table["label"], embedded["label"]);
        let adult = Csv::new().without_header().comment(b'|').class(14);
        let train = adult.read(data.join("adult/adult.data")).unwrap().dataset().unwrap();
        let test = adult.read(data.join("adult/adult.test")).unwrap().dataset().unwrap();
        assert_eq!((train["features"].shape(), train["categories"].shape()), (&[32_561, 6][..], &[32_561, 8][..]));
        assert_eq!(train.classes(), ["<=50K", ">50K"]);
        assert_eq!(test.len(), 16_281);
    }
}
